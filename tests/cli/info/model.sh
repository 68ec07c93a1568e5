model m
t sonde info m
sonde info m --json
model n --no-tokenizer
t sonde info n
