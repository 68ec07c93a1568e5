# Each file, and each folder, is one plugin that sees sonde/probe.h only.
PROBE_SRC := $(sort $(wildcard probes/*.c))
PROBE_SO := $(PROBE_SRC:probes/%.c=$(B)/probes/%.so)
.PHONY: probes
## probes: the shipped plugins
probes: $(PROBE_SO)
$(B)/probes/%.so: $(B)/probes/%.o
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) -shared $(OPT_$(CONFIG)) $(CFLAGS) $(LDFLAGS) -o $@ $< -lm
-include $(PROBE_SO:.so=.d)
