/* ask.h -- how long work asks whether to give up: often, so that the answer takes effect
 * soon. */
#ifndef ERNE_ASK_H
#define ERNE_ASK_H

#include <stdbool.h>
#include <stddef.h>

struct erne_ask {
    bool (*fn)(void *user); /* NULL: nobody is asked */
    void *user;
};

static inline bool erne_gives_up(const struct erne_ask *ask)
{
    return ask && ask->fn && ask->fn(ask->user);
}

#endif
