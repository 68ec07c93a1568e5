# the closing line: rows, bytes, stored dtypes, rate, and the command that looks at the file
model m
sonde capture m -p 'hello' -p 'you' -o x.h5
echo "exit $?"
ls
