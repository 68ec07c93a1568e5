model m num_hidden_layers=1
sonde points m -v --points embed | sed -n '/^recipe/,$p' | head -8
