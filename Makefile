# sonde - `make help` lists the targets.
.SUFFIXES:
.DELETE_ON_ERROR:
# With no names: no object is deleted as an intermediate file (names given elsewhere would end that).
.SECONDARY:
.DEFAULT_GOAL := all

CONFIG ?= release
PYTHON ?= /usr/bin/python3
prefix ?= /usr/local
DESTDIR ?=
SOVERSION := 0
VERSION := 0.1.0
B := build/$(CONFIG)
Q := $(if $(V),,@)
SONDE_SHARED ?= $(if $(wildcard ../shared/design.md),$(abspath ../shared),)
export SONDE_SHARED

ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar

OPT_release := -O3 -g1
OPT_debug := -O1 -g -DSONDE_DEBUG=1
OPT_asan := -O1 -g -DSONDE_DEBUG=1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread
OPT_coverage := -O0 -g --coverage
OPT_fuzz := -O1 -g -DSONDE_DEBUG=1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
ifeq ($(OPT_$(CONFIG)),)
$(error CONFIG is '$(CONFIG)': expected release, debug, asan, tsan, coverage or fuzz)
endif

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes \
            -Wcast-qual -Wvla -Wformat=2 -Wundef $(if $(or $(WERROR),$(CI)),-Werror)
BASE_CFLAGS := -std=c11 -D_GNU_SOURCE -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden \
               -pthread $(OPT_$(CONFIG)) $(WARNINGS) -Ilib/include -Ilib -I. -Itests

PACKAGES := hdf5-serial jansson libxxhash libdeflate argtable2 openblas
PKG_CFLAGS = $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null | sed 's/-I\([^ ]*\)/-isystem \1/g')
PKG_LIBS = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)
PKG_CFLAGS := $(PKG_CFLAGS)
PKG_LIBS := $(PKG_LIBS)
LIBS := $(PKG_LIBS) -ldl -lm -pthread

include lib/module.mk models/module.mk analysis/module.mk probes/module.mk cli/module.mk \
        tests/module.mk tools/module.mk

LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o)
FLAGS_KEY := $(filter-out -Werror,$(CC) $(CFLAGS) $(BASE_CFLAGS) $(PKG_CFLAGS))

.PHONY: all lib force
## all: the library, the probes and the program (CONFIG=release|debug|asan|tsan|coverage)
all: lib probes cli
## lib: libsonde.a and libsonde.so
lib: $(B)/libsonde.a $(B)/libsonde.so

# A change of compiler or flags rebuilds. Without its libraries nothing can be: say which one is missing.
$(B)/flags: force
	@$(if $(PKG_LIBS),,NO_INSTALL=1 CC='$(CC)' sh tools/deps.sh build)
	@mkdir -p $(B)
	@printf '%s\n' '$(FLAGS_KEY)' | cmp -s - $@ || printf '%s\n' '$(FLAGS_KEY)' > $@
force:

isa_flags = $(if $(filter %_avx2,$1),-mavx2 -mfma -mf16c) \
            $(if $(filter %_avx512,$1),-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl)
# No fuzz target gets to the unrolled kernels; instrumented, each takes clang minutes.
plain_flags = $(if $(filter lib/kernels/x86/% lib/kernels/ref/%,$1),$(if $(filter fuzz,$(CONFIG)),-fno-sanitize=all))

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@$(if $(V),,echo '  CC      $<')
	$(Q)$(CC) $(BASE_CFLAGS) $(PKG_CFLAGS) $(call isa_flags,$*) $(call plain_flags,$*) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/libsonde.a: $(LIB_OBJ)
	@$(if $(V),,echo '  AR      $@')
	$(Q)rm -f $@ && $(AR) rcs $@ $(LIB_OBJ)

$(B)/libsonde.so: $(LIB_OBJ)
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) -shared -Wl,-soname,libsonde.so.$(SOVERSION) $(OPT_$(CONFIG)) $(CFLAGS) $(LDFLAGS) -o $@ $(LIB_OBJ) $(LIBS)

## install: headers, libraries, probes and the program under $(DESTDIR)$(prefix)
.PHONY: install uninstall
ROOT = $(DESTDIR)$(prefix)
install: all
	install -d $(ROOT)/include/sonde $(ROOT)/lib/pkgconfig $(ROOT)/lib/sonde/probes $(ROOT)/bin \
	    $(ROOT)/share/doc/sonde $(ROOT)/share/sonde/python $(ROOT)/share/sonde/template
	install -m 644 lib/include/sonde/*.h $(ROOT)/include/sonde/
	install -m 644 $(B)/libsonde.a $(ROOT)/lib/
	install -m 755 $(B)/libsonde.so $(ROOT)/lib/libsonde.so.$(VERSION)
	ln -sf libsonde.so.$(VERSION) $(ROOT)/lib/libsonde.so.$(SOVERSION)
	ln -sf libsonde.so.$(SOVERSION) $(ROOT)/lib/libsonde.so
	install -m 755 $(PROBE_SO) $(ROOT)/lib/sonde/probes/
	install -m 755 $(B)/sonde $(ROOT)/bin/
	install -m 644 README.md LICENSE lib/store/FORMAT.md $(ROOT)/share/doc/sonde/
	install -m 644 analysis/python/sonde.py $(ROOT)/share/sonde/python/
	install -m 644 probes/template/* $(ROOT)/share/sonde/template/
	sed -e 's|@prefix@|$(prefix)|' -e 's|@version@|$(VERSION)|' -e 's|@libs@|$(LIBS)|' lib/sonde.pc.in \
	    > $(ROOT)/lib/pkgconfig/sonde.pc
## uninstall: removes what install put there
uninstall:
	rm -rf $(ROOT)/include/sonde $(ROOT)/lib/sonde $(ROOT)/share/sonde $(ROOT)/share/doc/sonde
	rm -f $(ROOT)/lib/libsonde.* $(ROOT)/lib/pkgconfig/sonde.pc $(ROOT)/bin/sonde

## clean: removes everything that was built
.PHONY: clean help
clean:
	rm -rf build
## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST) | awk -F': ' '{ printf "  %-16s %s\n", $$1, $$2 }'

-include $(LIB_OBJ:.o=.d)
