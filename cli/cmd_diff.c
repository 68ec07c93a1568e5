/* cmd_diff.c - sonde diff: two capture files compared. */
#include "cli/cli.h"

sonde_status cmd_diff(cli_call *call, sonde_error *err)
{
    sonde_diff_report *report = NULL;
    sonde_status status = sonde_diff_run(call->words[0], call->words[1], &call->diff, &report, err);
    if (!report) return status;
    sonde_error printing;
    sonde_status printed = call->diff.json ? sonde_diff_print_json(report, stdout, &printing)
                                           : sonde_diff_print_text(report, stdout, &printing);
    sonde_diff_report_destroy(&report);
    /* main.c says why stdout took no more */
    return printed == SONDE_NO_MEMORY ? (*err = printing, printed) : status;
}
