t sonde points m --pionts x
t sonde points m --codec raw
t sonde points m -z
t sonde points m --nothing-like-it
t sonde generate m -p hi --seed
t sonde generate m -p hi --seed=
t sonde generate m -p hi --seed 3 --seed 4
t sonde generate m -p hi --temperature hot
t sonde generate m -p hi --temperature -1
t sonde generate m -p hi --top-p 1.5
t sonde generate m -p hi --max-new-tokens 3.5
t sonde generate m -p hi --too-long cutt
t sonde generate m -p hi --memory lots
t sonde capture m p.txt -o
t sonde diff a.h5 b.h5 --max-upl 1
t sonde points --json=maybe m
