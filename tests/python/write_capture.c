/* Captures for test_sonde_py.py: write_capture FILE deflate|raw TIMES CHUNK_BYTES [unsealed] */
#include "tests/support/capture_file.h"

#include <string.h>

int main(int argc, char **argv)
{
    sonde_error err = {0};
    int64_t times, chunk;
    if (argc < 5 || !sonde_parse_i64(argv[3], 1, 1 << 20, &times) ||
        !sonde_parse_i64(argv[4], 0, 1 << 30, &chunk))
        return 2;
    const capture_file_options options = {
        .path = argv[1],
        .codec = strcmp(argv[2], "raw") == 0 ? SONDE_CODEC_RAW : SONDE_CODEC_DEFLATE,
        .times = times,
        .chunk_target_bytes = chunk,
        .unsealed = argc > 5};
    if (capture_file_write(&options, &err) == SONDE_OK) return 0;
    fprintf(stderr, "write_capture: %s\n", err.message);
    return 1;
}
