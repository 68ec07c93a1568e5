#!/bin/sh
# run.sh - installs into a folder of its own, uses what was installed from outside the tree, and
# uninstalls again. CC, MAKE, B and CONFIG come from the Makefile.
set -u
tree=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
dest=$work/dest prefix=/opt/sonde
root=$dest$prefix
passed=0 failed=0
given=${PKG_CONFIG_PATH:-}
export PKG_CONFIG_PATH="$root/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$dest"

check() { # check NAME COMMAND...: one test
    name=$1
    shift
    if "$@" > "$work/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $name"
        cat "$work/log"
    fi
}

make_tree() { # with the pkg-config of whoever called, or its flags would rebuild the tree
    env -u PKG_CONFIG_PATH -u PKG_CONFIG_SYSROOT_DIR ${given:+PKG_CONFIG_PATH="$given"} \
        "${MAKE:-make}" -C "$tree" --no-print-directory NO_INSTALL=1 B="${B:-build/release}" \
        CONFIG="${CONFIG:-release}" CC="${CC:-gcc}" DESTDIR="$dest" prefix="$prefix" "$@"
}

nothing_outside() { [ "$(find "$dest" -mindepth 1 -maxdepth 1)" = "$dest/opt" ]; }

has_files() {
    for file in include/sonde/base.h include/sonde/probe.h lib/libsonde.a lib/libsonde.so.0 \
        lib/pkgconfig/sonde.pc lib/sonde/probes/capture.so bin/sonde; do
        [ -e "$root/$file" ] || { echo "$file was not installed"; return 1; }
    done
}

only_own_symbols() {
    foreign=$(nm -D --defined-only "$root/lib/libsonde.so" | awk '{ print $3 }' | grep -v '^sonde_')
    [ -z "$foreign" ] || { echo "libsonde.so exports: $foreign"; return 1; }
}

program() { # program FLAGS: a user's program, told how to link
    cat > "$work/user.c" << 'END'
#include <sonde/base.h>
#include <sonde/model.h>
#include <stdio.h>
int main(void)
{
    sonde_error err;
    sonde_model *model = NULL;
    if (sonde_model_open("/nonexistent", NULL, &model, &err) != SONDE_BAD_FILE) return 1;
    printf("%lld families; %s\n", (long long)sonde_family_count(), err.message);
    return sonde_family_count() > 0 ? 0 : 1;
}
END
    # shellcheck disable=SC2046,SC2086
    ${CC:-gcc} -std=c11 -Wall -Wextra -Werror $sanitizers "$work/user.c" -o "$work/user" "$@"
}
shared_program() {
    # shellcheck disable=SC2046
    program $(pkg-config --cflags --libs sonde) -Wl,-rpath,"$root/lib" && "$work/user"
}
static_program() {
    # shellcheck disable=SC2046
    program $(pkg-config --cflags sonde) "$root/lib/libsonde.a" \
        $(PKG_CONFIG_SYSROOT_DIR='' pkg-config --static --libs sonde | sed 's/-lsonde//g') && "$work/user"
}

template_builds() {
    cp -r "$tree/probes/template" "$work/template" && cd "$work/template" &&
        "${MAKE:-make}" --no-print-directory CC="${CC:-gcc}" && ls ./*.so
}
template_is_found() {
    for plugin in "$work"/template/*.so; do
        SONDE_PROBE_PATH="$work/template" "$root/bin/sonde" probes "$(basename "$plugin" .so)" || return 1
    done
}

nothing_left() {
    left=$(find "$dest" ! -type d)
    [ -z "$left" ] || { echo "uninstall left: $left"; return 1; }
}

sanitizers=
case ${CONFIG:-release} in
asan) sanitizers=-fsanitize=address,undefined ;;
tsan) sanitizers=-fsanitize=thread ;;
coverage) sanitizers=--coverage ;;
esac

check "make install" make_tree install
check "files where they belong" has_files
check "nothing outside the prefix" nothing_outside
check "libsonde.so exports sonde_* only" only_own_symbols
check "a program with libsonde.so" shared_program
check "a program with libsonde.a" static_program
check "the template probe builds outside the tree" template_builds
check "the installed program finds it" template_is_found
check "make uninstall" make_tree uninstall
check "nothing is left" nothing_left
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
