import { Controller, Get } from "@nestjs/common";
import { InjectRepository } from "@nestjs/typeorm";
import { Repository } from "typeorm";
import { UserTypes } from "../menshen.guard";
import { User } from "../users/user.entity";

/** The back office. menshen's config has a rule for these paths as well; two walls are better than one. */
@Controller("api/v1/admin")
@UserTypes("admin")
export class AdminController {
  constructor(@InjectRepository(User) private readonly users: Repository<User>) {}

  @Get("users")
  list() {
    const rows = this.users.createQueryBuilder("user").loadRelationCountAndMap("user.recipe_count", "user.recipes");
    return rows.orderBy("user.id").getMany();
  }
}
