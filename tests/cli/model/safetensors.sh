# a safetensors file cut in each of its sections
for bytes in 0 4 8 100 2000 4000 20000; do
    model m --cut $bytes
    t sonde info m
done
