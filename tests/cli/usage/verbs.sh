t sonde pionts m
t sonde capure m
t sonde zzzzzz
t sonde --points
t sonde help pln
for verb in score check similarity recover verify merge lens export import quantize serve; do
    t sonde $verb a b --c
done
