# a GGUF file cut in each of its sections
seeds="$TREE/tests/fuzz/corpus/fuzz_gguf"
for name in empty three-bytes magic-lower version-4 cut-in-counts cut-in-key-length cut-in-key cut-in-kind \
    cut-in-value cut-in-tensor-name cut-in-dims cut-before-offset cut-before-data cut-in-data \
    offset-past-end overlap-partial name-duplicate; do
    cp "$seeds/$name.gguf" $name.gguf
    t sonde info $name.gguf
done
