/*
 * replay.c - runs a fuzz target once over each file of its arguments and of the folders among them:
 * the seed corpus as one test, with any compiler. A target that aborts is seen by its signal, and the
 * last line then names the input.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(size ? size : 1); /* exactly the input, so that a sanitizer sees over-reads */
    int failed = !data || fread(data, 1, size, file) != size;
    fclose(file);
    printf("%s\n", path);
    fflush(stdout);
    if (!failed) LLVMFuzzerTestOneInput(data, size);
    free(data);
    return failed;
}

static int run_folder(const char *folder)
{
    struct dirent **names;
    int failed = 0, n = scandir(folder, &names, NULL, alphasort);
    if (n < 0) return run_file(folder);
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (names[i]->d_name[0] != '.') failed |= run_file(path);
        free(names[i]);
    }
    free(names);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= run_folder(argv[i]);
    return failed;
}
