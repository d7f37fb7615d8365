/* A text as a QR code of block characters, for a phone's camera to read off a terminal. */
#ifndef KM_CMD_NODE_QR_H
#define KM_CMD_NODE_QR_H

#include <keymesh/error.h>

/* 0, KM_ERR_UNSUPPORTED (built without libqrencode), KM_ERR_LIMIT (too long for a QR code). */
int qr_print(const char *text, km_errinfo *err);

#endif /* KM_CMD_NODE_QR_H */
