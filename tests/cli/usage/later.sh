# options and values of later versions are refused by name
for option in --resume '--shard-size 1G' '--config run.yaml' \
    '--backend cuda' '--kv-dtype fp8' '--kv-dtype int8'; do
    t sonde capture m p.jsonl -o x.h5 $option
done
t sonde capture m p.jsonl -o x.h5 --shard-size
