#!/bin/sh
# deps.sh GROUP... - names the Debian packages that are missing for these groups and installs them.
#
# Groups: build, test, read (Python that reads captures), pip, fuzz, format. NO_INSTALL=1 names
# what is missing and stops with status 1. What is present is left alone. CC and PYTHON are
# honoured. Packages are looked for by what they bring (a program, a header, a pkg-config file), so
# that libraries from elsewhere count too.
set -u
CC=${CC:-gcc}
PYTHON=${PYTHON:-/usr/bin/python3}

has_program() { command -v "$1" > /dev/null 2>&1; }
has_header() {
    for place in /usr/include /usr/local/include /usr/include/*-linux-gnu /usr/lib/*-linux-gnu; do
        [ -e "$place/$1" ] && return 0
    done
    return 1
}
has_library() { # a pkg-config name, also where pkg-config itself is still missing
    if has_program pkg-config; then pkg-config --exists "$1"; return; fi
    for place in /usr/lib/*-linux-gnu/pkgconfig /usr/lib/pkgconfig /usr/share/pkgconfig; do
        [ -e "$place/$1.pc" ] && return 0
    done
    return 1
}
has_runtime() { [ -e "$(clang --print-runtime-dir 2> /dev/null)/libclang_rt.$1-$(uname -m).a" ]; }
has_module() { "$PYTHON" -c "import $1" > /dev/null 2>&1; }

# need PACKAGE CHECK ARGUMENT: adds the package to the missing ones when the check fails.
need() {
    "$2" "$3" && return
    case " $missing " in *" $1 "*) ;; *) missing="$missing $1" ;; esac
}

need_compiler() {
    case ${CC##*/} in
    *clang*) need clang has_program "${CC%% *}" ;;
    *) need gcc has_program "${CC%% *}" ;;
    esac
    need libc6-dev has_header stdio.h
}

find_missing() {
    missing=
    for group in "$@"; do
        case $group in
        build)
            need_compiler
            need pkg-config has_program pkg-config
            need libhdf5-dev has_library hdf5-serial
            need libjansson-dev has_library jansson
            need libxxhash-dev has_library libxxhash
            need libdeflate-dev has_library libdeflate
            need libargtable2-dev has_library argtable2
            need libopenblas-dev has_library openblas ;;
        test)
            need libcmocka-dev has_library cmocka
            need zlib1g-dev has_library zlib
            need g++ has_program g++
            need python3 has_program "$PYTHON"
            need python3-h5py has_module h5py ;;
        read)
            need python3 has_program "$PYTHON"
            need python3-h5py has_module h5py ;;
        pip)
            need python3 has_program "$PYTHON"
            need python3-pip has_module pip ;;
        fuzz)
            need clang has_program clang
            need libclang-rt-dev has_runtime fuzzer ;;
        format) need clang-format has_program clang-format ;;
        *) echo "deps.sh: unknown group '$group'" >&2; exit 2 ;;
        esac
    done
}

install_missing() {
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        has_program sudo || { echo "neither root nor sudo here: run 'apt-get install$missing' as root" >&2; exit 1; }
        as_root=sudo
    fi
    $as_root apt-get update -q || echo "apt-get update failed; trying with the lists at hand" >&2
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $missing
}

find_missing "$@"
[ -z "$missing" ] && exit 0
echo "missing packages:$missing"
if [ -n "${NO_INSTALL:-}" ]; then
    echo "NO_INSTALL is set; install them with: apt-get install$missing" >&2
    exit 1
fi
has_program apt-get || { echo "no apt-get here: install what these Debian packages bring" >&2; exit 1; }
echo "installing them with apt-get"
install_missing || { echo "apt-get could not install:$missing" >&2; exit 1; }
find_missing "$@"
[ -z "$missing" ] && exit 0
echo "still missing after the installation:$missing" >&2
exit 1
