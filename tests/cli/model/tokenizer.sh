# a tokenizer with more ids than the model has rows
model m vocab_size=200 --shape model.embed_tokens.weight=200,16 --shape lm_head.weight=200,16
t sonde generate m -p hi
t sonde info m
