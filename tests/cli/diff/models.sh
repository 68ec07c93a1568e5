# captures of two models fail unless that is waived
model m
model n rms_norm_eps=0.1 && "$PYTHON" - <<'P'
data = bytearray(open("n/model.safetensors", "rb").read())
data[-1] ^= 1
open("n/model.safetensors", "wb").write(data)
P
sonde capture m -p 'hello' -o a.h5 --quiet --points blocks.0.resid_post
sonde capture n -p 'hello' -o b.h5 --quiet --points blocks.0.resid_post
sonde diff a.h5 b.h5 | grep '^model  \|^verdict'
sonde diff a.h5 b.h5 --waive model --max-rel-l2 10 | grep '^model  \|^verdict'
