# cmake -DDIR=here -DOUT=file.c -P embed.cmake: the documents as C arrays.
set(code "/* Made from the .html files by embed.cmake. */\n#include \"cmd/node/page/page_html.h\"\n")
foreach(name page login)
  file(READ ${DIR}/${name}.html hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  string(APPEND code "\nconst char ${name}_html[] = {${bytes}'\\0'};\n")
endforeach()
file(WRITE ${OUT} "${code}")
