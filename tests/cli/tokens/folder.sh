# tokenizer files without a model are enough; without them it says what is missing
mkdir only none
cp "$GOLDENS/text/bytes-plain/tokenizer.json" only
t sonde tokens only -p a
t sonde tokens none -p a
t sonde tokens nowhere -p a
printf '{"version": "1.0", "model": {"type": "WordPiece"}}' > none/tokenizer.json
t sonde tokens none -p a
printf '{' > none/tokenizer.json
t sonde tokens none -p a
