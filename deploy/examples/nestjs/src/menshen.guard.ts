// Who is calling, as menshen says it. This file and menshen.assertion.ts are what you copy into your own backend.
//
// menshen sets the headers that are read here on every request and removes a client's own, in every spelling. So whoever reaches
// this process past menshen is whoever they say they are: listen on 127.0.0.1 or on a Unix socket (main.ts), and switch the
// assertion on where that is not to be the only wall.

import { CanActivate, createParamDecorator, ExecutionContext, ForbiddenException, Injectable } from "@nestjs/common";
import { SetMetadata, UnauthorizedException } from "@nestjs/common";
import { Reflector } from "@nestjs/core";
import { InjectRepository } from "@nestjs/typeorm";
import { IncomingHttpHeaders } from "node:http";
import { Repository } from "typeorm";
import { asserted, assertionsAreDemanded } from "./menshen.assertion";
import { User } from "./users/user.entity";

/** What menshen says of a caller. */
export interface Identity {
  id: string;
  userType: string;
}

/** The route is for everybody: `@CurrentUser()` is null where nobody is signed in. Without it a route asks for a user. */
export const OpenToAll = () => SetMetadata("open-to-all", true);

/** The route is for these user types alone: `@UserTypes("admin")`, on a method or a controller. */
export const UserTypes = (...types: string[]) => SetMetadata("user-types", types);

/** The row of the caller. */
export const CurrentUser = createParamDecorator((_: unknown, context: ExecutionContext): User | null => {
  return context.switchToHttp().getRequest().user;
});

@Injectable()
export class MenshenGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    @InjectRepository(User) private readonly users: Repository<User>,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const says = <T>(key: string) => this.reflector.getAllAndOverride<T>(key, [context.getHandler(), context.getClass()]);
    const request = context.switchToHttp().getRequest();
    const identity = await identityOf(request.headers);
    const types = says<string[] | undefined>("user-types");
    if (!identity && (types || !says<boolean>("open-to-all"))) throw new UnauthorizedException("请先登录");
    if (types && !types.includes(identity!.userType)) throw new ForbiddenException("没有权限");
    request.user = identity && (await this.rowOf(identity));
    request.userType = identity?.userType;
    return true;
  }

  /** The row of this user, made on first sight. Of several first requests at once one makes it, and all find it. */
  private async rowOf(identity: Identity): Promise<User> {
    const id = Number(identity.id);
    const known = await this.users.findOneBy({ id });
    if (known) return known;
    await this.users.createQueryBuilder().insert().values({ id }).orIgnore().execute();
    return this.users.findOneByOrFail({ id });
  }
}

/** Nobody, unless menshen says that somebody is signed in. With assertions the headers are not believed, only what is signed. */
async function identityOf(headers: IncomingHttpHeaders): Promise<Identity | null> {
  if (headers["x-auth-state"] !== "authenticated") return null;
  const identity = assertionsAreDemanded
    ? await asserted(headers["x-auth-assertion"])
    : { id: headers["x-user-id"], userType: headers["x-user-type"] };
  // `users.ids = "integer"` of menshen. With UUIDs: a column for them, and their pattern. Two headers of one name arrive as "1, 2".
  if (!/^[1-9][0-9]{0,9}$/.test(String(identity.id))) throw new UnauthorizedException("no integer in X-User-Id");
  return identity as Identity;
}
