# NaN and nonsense in numbers, an unknown family, an unknown rope
number() { # key, what stands in the file
    model m $1=7777
    sed -i "s/7777/$2/" m/config.json
    t sonde points m
}
number rms_norm_eps NaN
number rms_norm_eps 1e999
number rope_theta nan
number rope_theta -Infinity
number hidden_size -16
number num_hidden_layers 1.5
number num_key_value_heads 0
number vocab_size '"many"'
model m num_key_value_heads=2 num_attention_heads=3
t sonde points m
model m hidden_size=
t sonde points m
model m model_type='"lama"'
t sonde points m
model m model_type='"quantum"'
t sonde points m
model m model_type=
t sonde points m
model m rope_scaling='{"rope_type": "spiral", "factor": 2.0}'
t sonde points m
model m hidden_act='"sine"'
t sonde points m
printf '{"model_type": "llama",' > m/config.json
t sonde points m
printf '[]' > m/config.json
t sonde points m
