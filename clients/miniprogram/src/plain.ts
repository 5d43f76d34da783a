/** Two words that are said often; in one place they are short when minified. */

export const { assign, keys } = Object;
