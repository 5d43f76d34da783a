// Of several first requests at once, all of which find no row yet, one makes it and none fails. It takes a barrier to see that here:
// SQLite in one process lets nobody in between, but your database does.
//
//     npm run build && npm test

"use strict";

require("reflect-metadata");
const assert = require("node:assert");
const test = require("node:test");
const { Reflector } = require("@nestjs/core");
const { DataSource } = require("typeorm");
const { MenshenGuard } = require("../dist/menshen.guard");
const { Recipe } = require("../dist/recipes/recipe.entity");
const { User } = require("../dist/users/user.entity");

test("many first requests make one row", async () => {
  const database = new DataSource({ type: "sqljs", entities: [User, Recipe], synchronize: true });
  await database.initialize();
  const users = database.getRepository(User);

  const many = 8;
  let looked = 0;
  let open;
  const allHaveLooked = new Promise((resolve) => (open = resolve));
  const together = Object.create(users, {
    findOneBy: {
      value: async (where) => {
        const found = await users.findOneBy(where);
        if (++looked === many) open();
        await allHaveLooked;
        return found;
      },
    },
  });

  const guard = new MenshenGuard(new Reflector(), together);
  const headers = { "x-auth-state": "authenticated", "x-user-id": "1000000", "x-user-type": "user" };
  const requests = Array.from({ length: many }, () => ({ headers }));
  const context = (request) => ({
    getHandler: () => User,
    getClass: () => User,
    switchToHttp: () => ({ getRequest: () => request }),
  });
  assert.deepEqual(await Promise.all(requests.map((request) => guard.canActivate(context(request)))), Array(many).fill(true));
  assert.deepEqual(new Set(requests.map((request) => request.user.id)), new Set([1000000]));
  assert.equal(await users.count(), 1);
});
