t sonde info nowhere
t sonde info org/name
mkdir empty
t sonde info empty
: > empty.gguf
t sonde info empty.gguf
model m
rm m/model.safetensors
t sonde info m
model n
: > n/model.safetensors
t sonde info n
model o
: > o/config.json
t sonde info o
