# the configuration alone is read
model m
rm m/model.safetensors m/tokenizer.json
t sonde points m --points 'blocks.0.*norm*'
