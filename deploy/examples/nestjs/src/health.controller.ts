import { Controller, Get } from "@nestjs/common";
import { OpenToAll } from "./menshen.guard";

@Controller("health")
export class HealthController {
  @Get()
  @OpenToAll()
  health() {
    return { status: "ok" };
  }
}
