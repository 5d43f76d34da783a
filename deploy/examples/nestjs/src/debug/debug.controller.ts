import { Controller, Get, Req } from "@nestjs/common";
import type { Request } from "express";
import { OpenToAll } from "../menshen.guard";

/** Shows callers what arrived of their own request. Only there with SHOW_HEADERS=1: it is for setting up. */
@Controller("debug")
export class DebugController {
  @Get("headers")
  @OpenToAll()
  headers(@Req() request: Request) {
    return { headers: request.headers, raw: request.rawHeaders };
  }
}
