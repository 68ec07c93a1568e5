t sonde points
t sonde points a b
t sonde probes a b
t sonde diff a.h5
t sonde generate m
t sonde generate m p.jsonl -p hi
t sonde capture m p.jsonl
t sonde capture m p.jsonl x.h5
t sonde plan m
t sonde tokens m
t sonde tokens m f.txt -p hi
t sonde generate a b c d e f g h i j
