/** What a JWT says, for APIs that say nothing beside it. It is only read: whether it is true is the server's matter. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** The claims; empty where it is no JWT. Mini programs have no `atob`. */
export const claimsOf = (jwt: string): Record<string, any> => {
  let bits = 0;
  let count = 0;
  let escaped = "";
  for (const letter of (jwt.split(".")[1] || "").split("")) {
    bits = (bits << 6) | ALPHABET.indexOf(letter);
    count += 6;
    if (count > 7) {
      count -= 8;
      escaped += "%" + (256 + ((bits >> count) & 255)).toString(16).slice(1);
    }
  }
  try {
    return Object(JSON.parse(decodeURIComponent(escaped)));
  } catch (_) {
    return {};
  }
};

/** How long it is good for, by its own two times: the phone's clock has no part in it. */
export const lifeOf = ({ exp, iat }: Record<string, any>): number | undefined => {
  return exp > iat ? exp - iat : undefined;
};
