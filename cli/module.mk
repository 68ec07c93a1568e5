CLI_SRC := $(sort $(wildcard cli/*.c))
CLI_OBJ := $(CLI_SRC:%.c=$(B)/%.o)
.PHONY: cli
## cli: the program, build/$(CONFIG)/sonde
cli: $(if $(CLI_SRC),$(B)/sonde)
$(B)/sonde: $(CLI_OBJ) $(B)/libsonde.a
	@$(if $(V),,echo '  LD      $@')
	$(Q)$(CC) $(OPT_$(CONFIG)) $(CFLAGS) $(LDFLAGS) -o $@ $(CLI_OBJ) $(B)/libsonde.a $(LIBS)
-include $(CLI_OBJ:.o=.d)
