/** WeChat's own mini programs. */

import type { Client } from "./client.js";
import type { State } from "./state.js";

declare const Behavior: (definition: object) => string;

/** A Behavior that keeps `data.session` of a component, or of a page that is one, as the state is. */
export const sessionBehavior = (client: Client): string =>
  Behavior({
    data: { session: client.getState() },
    lifetimes: {
      attached(this: Page) {
        const show = (session: State) => this.setData({ session });
        show(client.getState());
        this._end = client.subscribe(show);
      },
      detached(this: Page) {
        this._end();
      },
    },
    // Another window may have signed in or out.
    pageLifetimes: { show: client.reload },
  });

interface Page {
  setData(data: object): void;
  _end(): void;
}
