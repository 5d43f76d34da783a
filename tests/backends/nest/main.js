// A NestJS backend as they were before menshen: it verifies the JWT of each request itself, with its own secret.
//
// The tests put it behind menshen, or give it a token of menshen, to prove that passport-jwt and @nestjs/jwt accept what menshen
// signs (HS256 with the backend's secret) and refuse what they should. So nothing here may be lenient, and nothing here knows
// menshen. Plain JavaScript, so that there is nothing to compile: decorators are applied by hand. Nest 10, because Nest 11 and 12
// do not run on Node 18.
//
//     JWT_SECRET=... PORT=0 node main.js     prints `listening PORT` when it is ready

"use strict";

require("reflect-metadata");
const { Controller, Get, Injectable, Module, Req, UnauthorizedException, UseGuards } = require("@nestjs/common");
const { NestFactory } = require("@nestjs/core");
const { JwtModule, JwtService } = require("@nestjs/jwt");
const { AuthGuard, PassportStrategy } = require("@nestjs/passport");
const { ExtractJwt, Strategy } = require("passport-jwt");

const { JWT_SECRET, PORT = "0" } = process.env;

const bearer = ExtractJwt.fromAuthHeaderAsBearerToken();

/** The strategy of the Nest manual: what `validate` returns becomes `request.user`. */
class JwtStrategy extends PassportStrategy(Strategy) {
  constructor() {
    // Throws when there is no secret, so the process does not start without one.
    super({ jwtFromRequest: bearer, ignoreExpiration: false, secretOrKey: JWT_SECRET, algorithms: ["HS256"] });
  }

  validate(payload) {
    return { id: payload.sub, openid: payload.openid, nickname: payload.nickname };
  }
}

/** The other way of the Nest manual: a guard without passport, with JwtService. */
class ClaimsGuard {
  constructor(jwt) {
    this.jwt = jwt;
  }

  async canActivate(context) {
    const request = context.switchToHttp().getRequest();
    try {
      request.user = await this.jwt.verifyAsync(bearer(request) ?? "");
    } catch {
      throw new UnauthorizedException();
    }
    return true;
  }
}

class UserController {
  profile(request) {
    return { code: 200, message: "success", data: request.user };
  }

  claims(request) {
    return request.user;
  }
}

class HealthController {
  healthz() {
    return { status: "ok" };
  }
}

class AppModule {}

/** `@A() @B() class Target`, and the types of the constructor's arguments, as TypeScript would write them. */
function decorateClass(target, decorators, needs = []) {
  Reflect.decorate([...decorators, Reflect.metadata("design:paramtypes", needs)], target);
}

/** `@A() @B() method(@P() first)` */
function decorateMethod({ prototype }, name, decorators, first) {
  first?.(prototype, name, 0);
  Reflect.decorate(decorators, prototype, name, Object.getOwnPropertyDescriptor(prototype, name));
}

decorateClass(JwtStrategy, [Injectable()]);
decorateClass(ClaimsGuard, [Injectable()], [JwtService]);
decorateClass(UserController, [Controller("api/v1/user")]);
decorateMethod(UserController, "profile", [Get("profile"), UseGuards(AuthGuard("jwt"))], Req());
decorateMethod(UserController, "claims", [Get("claims"), UseGuards(ClaimsGuard)], Req());
decorateClass(HealthController, [Controller("healthz")]);
decorateMethod(HealthController, "healthz", [Get()]);
decorateClass(AppModule, [
  Module({
    imports: [JwtModule.register({ secret: JWT_SECRET, verifyOptions: { algorithms: ["HS256"] } })],
    controllers: [UserController, HealthController],
    providers: [JwtStrategy],
  }),
]);

async function main() {
  const app = await NestFactory.create(AppModule, { logger: ["error", "warn"], abortOnError: false });
  await app.listen(Number(PORT), "127.0.0.1");
  console.log(`listening ${app.getHttpServer().address().port}`);
}

main().catch((fault) => {
  console.error(fault);
  process.exit(1);
});
