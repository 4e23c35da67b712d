/* base/yaml: no input may crash the reader or the check of a map. */
#include <stdlib.h>

#include "base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const choices[] = {"one", "two", NULL};
    static const struct yml_key keys[] = {
        {.name = "a", .type = YML_TYPE_U64, .min = 1, .max = 9},
        {.name = "b", .type = YML_TYPE_STRINGS},
        {.name = "c", .type = YML_TYPE_CHOICE, .choices = choices},
        {.name = "d", .type = YML_TYPE_MAP},
        {.name = "e", .type = YML_TYPE_BOOL},
        {.name = NULL},
    };
    struct yml_error error = {{0}};
    struct yml_node *root = yml_read_memory("fuzz", bytes, size, &error);
    if (!root && !error.text[0])
        abort(); /* a refusal says why */
    if (root)
        yml_check_map(root, keys, "a thing", &error);
    yml_free(root);
    return 0;
}
