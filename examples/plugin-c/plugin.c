/* A plugin in C: it keeps a record of what it is asked for in a file, one request a line. A real one would talk to a DNS
 * host at that place.
 *
 *   cc -shared -fPIC -I crates/dcv-plugin/include -o libledger.so examples/plugin-c/plugin.c
 *   dcv plugin check libledger.so
 *
 * Configuration: {"file": "/path/of/the/ledger"}. With "mode": "crash", "hang" or "mute" it misbehaves, for tests. */
#include "dcv_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ledger {
    char path[1024];
    char mode[16];
};

static void say(void *context, dcv_reply reply, const char *json) {
    reply(context, (const uint8_t *)json, strlen(json));
}

/* The text of a member, as far as it needs no escapes. Use a JSON library in earnest. */
static int member(const char *json, const char *name, char *text, size_t size) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"%s\":\"", name);
    const char *begin = strstr(json, wanted);
    if (!begin) return 0;
    begin += strlen(wanted);
    const char *end = strchr(begin, '"');
    if (!end || (size_t)(end - begin) >= size) return 0;
    memcpy(text, begin, (size_t)(end - begin));
    text[end - begin] = 0;
    return 1;
}

static char *copy(const uint8_t *json, size_t length) {
    char *text = malloc(length + 1);
    if (text) {
        memcpy(text, json, length);
        text[length] = 0;
    }
    return text;
}

static void ledger_describe(void *context, dcv_reply reply) {
    say(context, reply,
        "{\"ok\":{\"id\":\"ledger\",\"title\":\"A ledger in C\",\"proofs\":[\"txt\"],\"batch\":\"one line a call\","
        "\"options\":[{\"name\":\"file\",\"help\":\"The ledger\",\"required\":true}],\"example\":\"file = \\\"/tmp/ledger\\\"\"}}");
}

static void *ledger_open(const uint8_t *config, size_t length, void *context, dcv_reply reply) {
    struct ledger *ledger = calloc(1, sizeof *ledger);
    char *text = copy(config, length);
    int found = ledger && text && member(text, "file", ledger->path, sizeof ledger->path);
    if (found) member(text, "mode", ledger->mode, sizeof ledger->mode);
    free(text);
    if (!found) {
        free(ledger);
        say(context, reply, "{\"error\":{\"kind\":\"config\",\"message\":\"file: it is missing; name the ledger\"}}");
        return NULL;
    }
    say(context, reply, "{\"ok\":null}");
    return ledger;
}

static void ledger_call(void *handle, const uint8_t *request, size_t length, void *context, dcv_reply reply) {
    struct ledger *ledger = handle;
    if (!strcmp(ledger->mode, "crash")) *(volatile int *)0 = 1;
    if (!strcmp(ledger->mode, "hang")) for (;;) pause();
    if (!strcmp(ledger->mode, "mute")) return;
    char *text = copy(request, length);
    if (text && strstr(text, "\"verb\":\"preflight\"")) {
        say(context, reply, "{\"ok\":[{\"target\":\"a line\",\"within\":\"the ledger\"}]}");
        free(text);
        return;
    }
    FILE *file = text ? fopen(ledger->path, "a") : NULL;
    if (file) {
        fprintf(file, "%s\n", text);
        fclose(file);
        say(context, reply, "{\"ok\":null}");
    } else {
        say(context, reply, "{\"error\":{\"kind\":\"unavailable\",\"message\":\"the ledger cannot be opened\"}}");
    }
    free(text);
}

static void ledger_close(void *handle) { free(handle); }

const struct dcv_plugin_v1 *dcv_plugin(uint32_t host_abi) {
    static const struct dcv_plugin_v1 table = {
#ifdef OTHER_ABI
        .abi = 99,
#else
        .abi = DCV_PLUGIN_ABI,
#endif
        .size = sizeof table,
        .describe = ledger_describe,
        .open = ledger_open,
        .call = ledger_call,
        .close = ledger_close,
    };
#ifndef OTHER_ABI
    if (host_abi != DCV_PLUGIN_ABI) return NULL;
#else
    (void)host_abi;
#endif
    return &table;
}
