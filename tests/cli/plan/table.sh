model m
printf '{"text": "abc"}\n{"text": "hello there"}\n' > p.jsonl
t sonde plan m p.jsonl --workers 1 --threads 1 --points 'blocks.0.resid_post,blocks.0.attn.pattern'
