# identical 0, differs 1, nothing compared 2, a bad file 3
model m
sonde capture m -p 'hello' -o a.h5 --as f32 --quiet
sonde capture m -p 'hello' -o b.h5 --as f32 --quiet --workers 1
sonde capture m -p 'hello' -o c.h5 --as bf16 --quiet
sonde capture m -p 'hello' -o d.h5 --points embed --quiet
d() { sonde diff "$@" | tail -n 1; sonde diff "$@" > /dev/null; echo "exit $?"; }
d a.h5 b.h5
d a.h5 c.h5
d a.h5 c.h5 --waive dtype --max-rel-l2 1e-2
d a.h5 c.h5 --waive dtype --max-rel-l2 1e-6
d a.h5 d.h5
t sonde diff a.h5 b.h5 --points 'nothing*'
t sonde diff a.h5 nowhere.h5
printf 'no capture' > text.h5
t sonde diff a.h5 text.h5
t sonde diff a.h5 b.h5 --waive everything
