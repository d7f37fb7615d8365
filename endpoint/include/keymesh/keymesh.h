/**
 * @file keymesh/keymesh.h
 * All of KeyMesh but keymesh/uv.h, which needs libuv's header.
 */
#ifndef KEYMESH_KEYMESH_H
#define KEYMESH_KEYMESH_H

#include <keymesh/addr.h>
#include <keymesh/blocking.h>
#include <keymesh/conn.h>
#include <keymesh/discovery.h>
#include <keymesh/endpoint.h>
#include <keymesh/error.h>
#include <keymesh/explain.h>
#include <keymesh/id.h>
#include <keymesh/log.h>
#include <keymesh/loop.h>
#include <keymesh/mesh.h>
#include <keymesh/net_report.h>
#include <keymesh/record.h>
#include <keymesh/stream.h>
#include <keymesh/ticket.h>
#include <keymesh/version.h>

#endif /* KEYMESH_KEYMESH_H */
