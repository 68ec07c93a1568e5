# NaN and nonsense in numbers, an unknown family, an unknown rope
for key in rms_norm_eps rope_theta; do
    model m $key=NaN
    t sonde points m
    model m $key=1e999
    t sonde points m
done
model m hidden_size=-16
t sonde points m
model m num_hidden_layers=1.5
t sonde points m
model m num_attention_heads=3
t sonde points m
model m hidden_size=
t sonde points m
model m vocab_size='"many"'
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
