/* Standard input, output and error as the program found them. */
#ifndef KM_CMD_CLI_STDIO_IO_H
#define KM_CMD_CLI_STDIO_IO_H

/* Fills closed ones with /dev/null: else a socket would get the number of stdout, and what is
 * printed would be sent. Call first. */
void cli_stdio_begin(void);

/* Flushes stdout. The status to exit with: `status`, or CLI_EXIT_FAILED with a sentence on stderr
 * when all went well but what was printed is lost (disk full). A reader that left wants no more. */
int cli_stdio_end(int status);

#endif /* KM_CMD_CLI_STDIO_IO_H */
