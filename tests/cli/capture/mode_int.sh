# --mode int is refused where no weight is quantised, and where the backend has no products of integers
model m
echo '{"text": "one"}' > p.jsonl
sonde capture m p.jsonl -o a.h5 --mode int --quiet 2>&1; echo $?
sonde capture m p.jsonl -o a.h5 --mode int --backend blas --quiet 2>&1; echo $?
