/* The daemon as a command of km-node. */
#ifndef KM_CMD_NODE_DAEMON_COMMANDS_H
#define KM_CMD_NODE_DAEMON_COMMANDS_H

int cmd_run(int argc, char **argv); /* the words after its name; the exit status */

#endif /* KM_CMD_NODE_DAEMON_COMMANDS_H */
