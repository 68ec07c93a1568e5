# invalid UTF-8 is refused, naming line and byte
model m
bad() {
    sonde generate m "$@" --max-new-tokens 1 --quiet > out
    echo "exit $?, $(wc -l < out) before it"
} 2>&1
printf 'fine\nbad \303( here\n' > p.txt
bad p.txt
printf '{"text": "ok"}\n{"text": "\355\240\200"}\n' > p.jsonl
bad p.jsonl
bad -p "$(printf 'a\377')"
