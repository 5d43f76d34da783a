import { Body, Controller, Get, Patch, Req } from "@nestjs/common";
import { InjectRepository } from "@nestjs/typeorm";
import type { Request } from "express";
import { Repository } from "typeorm";
import { CurrentUser } from "../menshen.guard";
import { text } from "../text";
import { User } from "./user.entity";

@Controller("api/v1/users")
export class UsersController {
  constructor(@InjectRepository(User) private readonly users: Repository<User>) {}

  @Get("me")
  me(@CurrentUser() user: User, @Req() request: Request & { userType: string }) {
    return { id: user.id, bio: user.bio, user_type: request.userType, created_at: user.createdAt };
  }

  @Patch("me")
  async change(@CurrentUser() user: User, @Body() body: { bio?: unknown }) {
    await this.users.update(user.id, { bio: text(body.bio, "bio", 200) });
  }
}
