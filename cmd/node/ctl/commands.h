/* The commands of km-node that ask a node. Each takes the words after its name and returns the exit
 * status. */
#ifndef KM_CMD_NODE_CTL_COMMANDS_H
#define KM_CMD_NODE_CTL_COMMANDS_H

int cmd_peers(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_health(int argc, char **argv);
int cmd_kv(int argc, char **argv);
int cmd_peer(int argc, char **argv);
int cmd_send(int argc, char **argv);
int cmd_broadcast(int argc, char **argv);
int cmd_messages(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_shell(int argc, char **argv);

#endif /* KM_CMD_NODE_CTL_COMMANDS_H */
