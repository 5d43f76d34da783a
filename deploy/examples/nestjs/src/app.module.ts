import { Module } from "@nestjs/common";
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR } from "@nestjs/core";
import { TypeOrmModule } from "@nestjs/typeorm";
import { AdminController } from "./admin/admin.controller";
import { DebugController } from "./debug/debug.controller";
import { FailureEnvelope, SuccessEnvelope } from "./envelope";
import { HealthController } from "./health.controller";
import { MenshenGuard } from "./menshen.guard";
import { Recipe } from "./recipes/recipe.entity";
import { RecipesController } from "./recipes/recipes.controller";
import { User } from "./users/user.entity";
import { UsersController } from "./users/users.controller";

@Module({
  imports: [
    // SQLite in this process's memory, so that nothing need be installed. Your own `type: "mysql"` and the rest go here.
    TypeOrmModule.forRoot({ type: "sqljs", entities: [User, Recipe], synchronize: true }),
    TypeOrmModule.forFeature([User, Recipe]),
  ],
  controllers: [
    UsersController,
    RecipesController,
    AdminController,
    HealthController,
    ...(process.env.SHOW_HEADERS === "1" ? [DebugController] : []),
  ],
  providers: [
    // For every route: one that says nothing asks for a user.
    { provide: APP_GUARD, useClass: MenshenGuard },
    { provide: APP_INTERCEPTOR, useClass: SuccessEnvelope },
    { provide: APP_FILTER, useClass: FailureEnvelope },
  ],
})
export class AppModule {}
