# names with a typo: hook point, probe, codec, rows; a point that the family lacks
model m
t sonde capture m -p hi -o x.h5 --points 'blocks.*.resid_pots'
t sonde capture m -p hi -o x.h5 --points 'blocks.0.moe.router_logits'
t sonde capture m -p hi -o x.h5 --codec defalte
t sonde capture m -p hi -o x.h5 --codec zstd
t sonde capture m -p hi -o x.h5 --rows 'lsat:1'
ls
