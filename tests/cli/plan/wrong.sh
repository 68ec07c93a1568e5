model m
t sonde plan m -p abc --memory 1K
t sonde plan m -p abc --points 'blocks.*.resid_pots'
t sonde plan m -p abc --rows 'frist:2'
t sonde plan m -p abc --codec zstd
t sonde plan m -p abc --codec 'deflate,round:4'
t sonde plan m -p abc --codec defalte
t sonde plan m -p abc --as bf17
t sonde plan m -p abc --as 'bf16,logits=f64'
t sonde plan m -p abc --labels logprob,entrpy
t sonde plan m -p abc --off fuze
t sonde plan m -p abc --cpumask avx9
t sonde plan m -p abc --workers many
t sonde plan m -p abc --probe captrue
t sonde plan m -p abc --probe capture:pionts=embed
t sonde plan m -p abc --probe moments=m --probe moments=m
t sonde plan m -p abc --max-new-tokens 1 --max-seq 3
