/* The C ABI of dcv's provider plugins, version 1.
 *
 * A plugin is a shared library that exports one function, `dcv_plugin`. Everything that crosses the boundary is JSON in
 * UTF-8, given by address and length; nothing is NUL-terminated and nothing is owned by the other side: what a function
 * gets is valid until it returns, and what it has to say it says by calling `reply` exactly once before it returns.
 *
 * Functions may be called from any thread, `call` from several at the same time. They may block; the host gives them
 * threads of their own. They must not let exceptions or panics out.
 */
#ifndef DCV_PLUGIN_H
#define DCV_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DCV_PLUGIN_ABI 1u

/* Takes an answer; `context` is what the function was given. */
typedef void (*dcv_reply)(void *context, const uint8_t *json, size_t length);

struct dcv_plugin_v1 {
    /* DCV_PLUGIN_ABI. */
    uint32_t abi;
    /* sizeof(struct dcv_plugin_v1): later versions only add members at the end. */
    uint32_t size;

    /* Replies what the plugin is:
     *   {"ok": {"id": "acme", "title": "Acme DNS", "proofs": ["txt", "cname"], "batch": "one request per zone",
     *           "options": [{"name": "key", "help": "…", "required": true, "secret": true}], "example": "key = …"}}
     */
    void (*describe)(void *context, dcv_reply reply);

    /* Makes a provider of a configuration, a JSON object. Replies {"ok": null} and returns a handle, or replies an error and
     * returns NULL. */
    void *(*open)(const uint8_t *config, size_t length, void *context, dcv_reply reply);

    /* Does something: {"verb": "preflight" | "present" | "retract", "proofs": [
     *     {"kind": "txt", "name": "_dnsauth.example.com", "value": "…"},
     *     {"kind": "cname", "name": "_dnsauth.example.com", "target": "….dcv.digicert.com"},
     *     {"kind": "file", "host": "www.example.com", "path": "/.well-known/…", "body": "…"}]}
     * Replies {"ok": null}, for preflight {"ok": [{"target": "…", "within": "…"}, …]}, one for each proof, or
     *     {"error": {"kind": "config" | "credentials" | "not_served" | "unsupported" | "rejected" | "conflict" | "rate_limited" |
     *                        "unavailable", "message": "…", "subjects": ["…"], "retry_after_ms": 5000}}
     * where the last two may be left out. What the verbs have to promise is in the documentation of dcv-provider. */
    void (*call)(void *handle, const uint8_t *request, size_t length, void *context, dcv_reply reply);

    /* Gives a handle back. No call is under way, and none will follow. */
    void (*close)(void *handle);
};

/* Returns the plugin's table, which stays valid for ever, or NULL when it cannot work with a host of this ABI. */
const struct dcv_plugin_v1 *dcv_plugin(uint32_t host_abi);

#ifdef __cplusplus
}
#endif
#endif
