/* The commands of this folder. Each takes the words after its name and returns the exit status. */
#ifndef KM_CMD_NODE_PROJECT_COMMANDS_H
#define KM_CMD_NODE_PROJECT_COMMANDS_H

int cmd_init(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_list_shares(int argc, char **argv);
int cmd_install(int argc, char **argv);
int cmd_uninstall(int argc, char **argv);
int cmd_service(int argc, char **argv);
int cmd_cert(int argc, char **argv);
int cmd_security(int argc, char **argv);

#endif /* KM_CMD_NODE_PROJECT_COMMANDS_H */
