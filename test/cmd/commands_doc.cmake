# docs/commands.md has each command.
km_add_script_test(cmd_commands_doc COMMAND ${KM_PYTHON3} -B ${here}/commands_doc_test.py
  LABELS cmd TIMEOUT 60)
